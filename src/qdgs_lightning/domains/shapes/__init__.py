"""Shapes: triangles and squares in two colours, where colour can give the class away."""
