"""The same for type checkers and editors, which do not follow ``__getattr__``."""

from clr_hpc.config.expand import expand as expand
from clr_hpc.config.load import StudyError as StudyError
from clr_hpc.config.load import load_study as load_study
from clr_hpc.config.network import Network as Network
from clr_hpc.config.policy import (
    Constant as Constant,
)
from clr_hpc.config.policy import (
    Cosine as Cosine,
)
from clr_hpc.config.policy import (
    Exponential as Exponential,
)
from clr_hpc.config.policy import (
    ExpRange as ExpRange,
)
from clr_hpc.config.policy import (
    InverseTime as InverseTime,
)
from clr_hpc.config.policy import (
    OneCycle as OneCycle,
)
from clr_hpc.config.policy import (
    Ramp as Ramp,
)
from clr_hpc.config.policy import (
    Step as Step,
)
from clr_hpc.config.policy import (
    Triangular as Triangular,
)
from clr_hpc.config.policy import (
    Triangular2 as Triangular2,
)
from clr_hpc.config.policy import (
    Triangular2Modified as Triangular2Modified,
)
from clr_hpc.config.run import RunSpec as RunSpec
from clr_hpc.config.study import Study as Study
from clr_hpc.data.build import build_pack as build_pack
from clr_hpc.data.pack import Pack as Pack
from clr_hpc.data.source import (
    ImageRecord as ImageRecord,
)
from clr_hpc.data.source import (
    ImageSource as ImageSource,
)
from clr_hpc.data.source import (
    Option as Option,
)
from clr_hpc.data.source import (
    SourceTable as SourceTable,
)
from clr_hpc.data.sources.phantom.source import PhantomSource as PhantomSource
from clr_hpc.data.sources.table import TableSource as TableSource
from clr_hpc.inference.study import TrainedStudy as TrainedStudy
from clr_hpc.inference.study import load as load
from clr_hpc.places.start import FailedRunsError as FailedRunsError
from clr_hpc.places.start import run as run
from clr_hpc.reporting.report import report as report
from clr_hpc.reporting.report import write_report as write_report
from clr_hpc.schedule.policies import learning_rate as learning_rate
from clr_hpc.schedule.policies import momentum as momentum
from clr_hpc.schedule.scheduler import (
    PolicyScheduler as PolicyScheduler,
)
from clr_hpc.schedule.scheduler import (
    apply_policy as apply_policy,
)

__version__: str
