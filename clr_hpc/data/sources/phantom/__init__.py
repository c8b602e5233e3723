"""The built-in phantom: drawn chest films, for trying and testing everything without a download.

Its pictures teach a classifier what each finding looks like by definition. A result on it is never a clinical one.
"""

from clr_hpc.data.sources.phantom.source import PhantomSource

__all__ = ["PhantomSource"]

SOURCE = PhantomSource
