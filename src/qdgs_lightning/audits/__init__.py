"""Audits: which groups a set of images shows, in what shares, and how sure that is.

Published for faces, by CLIP and stated prompts, in % (Chang et al., AAAI-24):

========================  ====  =========  ==============
attribute                 FFHQ  StyleGAN2  StyleGAN2, QDGS
========================  ====  =========  ==============
skin light                73.1  69.8       56.8
skin mixed                17.1  20.8       18.1
skin dark                  9.8   9.4       25.2
age young                 64.9  63.0       54.3
age old                   35.1  37.0       45.7
gender feminine           51.9  51.8       44.6
gender androgynous         3.9   4.2        4.3
gender masculine          44.2  44.0       51.1
========================  ====  =========  ==============
"""

from qdgs_lightning.audits.agreement import Agreement
from qdgs_lightning.audits.annotators import (
    AnnotationError,
    Annotator,
    Attribute,
    LabelTable,
    PromptAnnotator,
    read_labels,
)
from qdgs_lightning.audits.confusion import Confusion, read_confusion
from qdgs_lightning.audits.label_file import ImageLabels, write_labels
from qdgs_lightning.audits.labelled_shares import LabelledShares
from qdgs_lightning.audits.report import (
    SourceReport,
    report_csv,
    report_json,
    report_markdown,
    report_terminal,
)
from qdgs_lightning.audits.shares import (
    Annotations,
    Distances,
    ShareTable,
    corrected,
    share_tables,
)
from qdgs_lightning.audits.sources import (
    AuditedImages,
    Elites,
    ImageSet,
    PriorSamples,
    Source,
)
from qdgs_lightning.audits.unfinished import UnfinishedAnnotations, annotation_settings
from qdgs_lightning.audits.units import (
    AuditError,
    UnitColumn,
    Units,
)

__all__ = [
    "Agreement",
    "AnnotationError",
    "Annotations",
    "Annotator",
    "Attribute",
    "AuditError",
    "AuditedImages",
    "Confusion",
    "Distances",
    "Elites",
    "ImageLabels",
    "ImageSet",
    "LabelTable",
    "LabelledShares",
    "PriorSamples",
    "PromptAnnotator",
    "ShareTable",
    "Source",
    "SourceReport",
    "UnfinishedAnnotations",
    "UnitColumn",
    "Units",
    "annotation_settings",
    "corrected",
    "read_confusion",
    "read_labels",
    "report_csv",
    "report_json",
    "report_markdown",
    "report_terminal",
    "share_tables",
    "write_labels",
]
