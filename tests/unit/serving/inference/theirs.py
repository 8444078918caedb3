"""What ultralytics does, for tests that compare with it.

Importing it changes Pillow for the whole process, where the serving application, which never meets it, is tested: that
is taken back.
"""

from PIL import Image
from ultralytics.data.augment import LetterBox
from ultralytics.utils import patches
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

__all__ = ["LetterBox", "non_max_suppression", "scale_boxes"]

Image.open = patches._image_open
