from mmtl.demo.charts import Line, line_chart
from mmtl.demo.html_page import Figure, figure_row, grid, legend, page, paragraph, section, table
from mmtl.demo.run_logs import Curve, read_curve, training_position
from mmtl.visualization.label_images import blend_colors, data_uri, lay_over, mix_patches, paint_mask

__all__ = [
    "Curve",
    "Figure",
    "Line",
    "blend_colors",
    "data_uri",
    "figure_row",
    "grid",
    "lay_over",
    "legend",
    "line_chart",
    "mix_patches",
    "page",
    "paint_mask",
    "paragraph",
    "read_curve",
    "section",
    "table",
    "training_position",
]
