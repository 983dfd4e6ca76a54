from mmtl.report.charts import Line, line_chart
from mmtl.report.page import Figure, figure_row, grid, legend, page, paragraph, section, table
from mmtl.report.pictures import class_colours, data_uri, lay_over, mix_patches, paint_mask
from mmtl.report.runs import Curve, read_curve, training_position

__all__ = [
    "Curve",
    "Figure",
    "Line",
    "class_colours",
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
