"""Pictures of what a model looks at and of what it finds; they need matplotlib and OpenCV."""
