"""What a study is doing: its status and TensorBoard, from what lies on disk."""
