"""Every configuration key that dcal_reid adds to fast-reid's, with its default."""

from functools import reduce
from operator import getitem

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN
from fastreid.config import get_cfg as fastreid_get_cfg

__all__ = ["add_dcal_config", "get_cfg", "value_of"]


def add_dcal_config(cfg: CfgNode) -> None:
    """Add our keys to ``cfg`` in place. fast-reid's own keys and their defaults stay as they are.

    ``import dcal_reid`` does this to fast-reid's defaults, so that ``fastreid.config.get_cfg()`` knows the keys.
    Calling it twice changes nothing.
    """
    if "DCAL" in cfg.MODEL:
        return

    # Seed of every random number generator. -1: a new seed for each run, written to the log and to config.yaml.
    cfg.SEED = 0

    # --- Backbone ---------------------------------------------------------------------------------------------
    # Which timm model `build_timm_backbone` builds, with the tag that names its weights.
    # MODEL.BACKBONE.PRETRAIN True loads them: from PRETRAIN_PATH (.safetensors, .pth), or from timm's hub if empty.
    cfg.MODEL.BACKBONE.TIMM_MODEL = "vit_base_patch16_224.orig_in21k"
    # The size [H, W] of the images that the weights of PRETRAIN_PATH were trained on, if it was not square: position
    # embeddings alone do not distinguish 16 x 8 from 8 x 16 or 18 x 8 from 12 x 12 patches. Empty: square.
    cfg.MODEL.BACKBONE.PRETRAIN_SIZE = ()
    # Passed on to timm.create_model, for instance {depth: 6, embed_dim: 96, num_heads: 3, patch_size: 8}.
    cfg.MODEL.BACKBONE.TIMM_KWARGS = CN(new_allowed=True)
    # Where the mean and the standard deviation of the pixels come from. weights: from timm's record of how the weights
    # were trained, for the backbones that use TIMM_MODEL (build_timm_backbone, build_fastreid_vit). config, and always
    # for other backbones: from MODEL.PIXEL_MEAN and MODEL.PIXEL_STD.
    cfg.MODEL.PIXEL_STATS = "weights"

    # Compile the branches with torch.compile, for training and inference. The first steps take a minute or two.
    cfg.MODEL.COMPILE = False
    # Recompute the activations of each block in the backward pass instead of storing them: far less memory, about a
    # third more time.
    cfg.MODEL.ACTIVATION_CHECKPOINTING = False

    # --- Dual cross-attention learning ------------------------------------------------------------------------
    cfg.MODEL.DCAL = CN()
    # The branches used at inference: sa+glca (features concatenated, class probabilities added) | sa | glca.
    cfg.MODEL.DCAL.INFERENCE = "sa+glca"
    # learned: 1/2 sum_b (exp(-w_b) L_b + w_b) with learned w. fixed: sum_b exp(-w_b) L_b with w at its initial value.
    cfg.MODEL.DCAL.LOSS_WEIGHTS = "learned"
    # The initial w_b of the branches sa, glca, pwca.
    cfg.MODEL.DCAL.LOSS_WEIGHTS_INIT = [0.0, 0.0, 0.0]
    # The learning rate of w_b is SOLVER.BASE_LR times this.
    cfg.MODEL.DCAL.LOSS_WEIGHTS_LR_FACTOR = 1.0

    # Global-local cross-attention (GLCA).
    cfg.MODEL.DCAL.GLCA = CN()
    # M, the number of GLCA blocks. 0: no GLCA.
    cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = 1
    # R, the share of patches that become local queries: 0.3 for re-ID, 0.1 for fine-grained classification.
    cfg.MODEL.DCAL.GLCA.RATIO = 0.3
    # parallel: the GLCA blocks run beside the last M self-attention blocks, and each has the same input as the block
    # beside it. stacked: all read X_L.
    cfg.MODEL.DCAL.GLCA.INPUT = "parallel"
    # How the local queries are selected: by rollout; by the attention of a single block, either the last one of the
    # rollout (last) or the one before it (penultimate); or at random (random).
    cfg.MODEL.DCAL.GLCA.SELECTION = "rollout"
    # What the queries attend to: all tokens (all), or only the CLS token and the selected patches (local). local with
    # READOUT cls is CrossViT's cross-token fusion.
    cfg.MODEL.DCAL.GLCA.KEYS = "all"
    # copy: a GLCA block starts with the weights of the self-attention block beside it. fresh: random initialisation.
    cfg.MODEL.DCAL.GLCA.INIT = "copy"
    # cls: the CLS token (with KEYS all, the local queries then change nothing). mean: the mean of the CLS token and the
    # local tokens. cls+local: the average of the CLS token and of the mean of the local tokens.
    cfg.MODEL.DCAL.GLCA.READOUT = "mean"

    # Pair-wise cross-attention (PWCA), in training only.
    cfg.MODEL.DCAL.PWCA = CN()
    # T, the number of PWCA blocks: the last T blocks are pair-wise. 0: no PWCA.
    cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 12
    # Where the distractor's keys and values come from: its self-attention stream (sa) or its PWCA stream (pwca).
    cfg.MODEL.DCAL.PWCA.DISTRACTOR_STREAM = "sa"
    # Whose features update the running statistics of the BNNeck that SA and PWCA share: sa | sa+pwca.
    cfg.MODEL.DCAL.PWCA.NECK_STATISTICS = "sa"
    # What the distractors are: other images of the batch (batch); Gaussian noise in place of keys and values (noise) or
    # of images (noise_image, which is not in the paper); images of other data sets (external).
    cfg.MODEL.DCAL.PWCA.DISTRACTORS = "batch"
    # With external: the data sets, of any task, whose training images are the distractors.
    cfg.MODEL.DCAL.PWCA.EXTERNAL = ()
    # How a distractor is chosen from the batch; a name in PAIR_SAMPLER_REGISTRY: random | inter | intra | balanced.
    cfg.MODEL.DCAL.PWCA.PAIR_SAMPLER = "random"

    # Two other regularisers, which the paper compares PWCA with (table 4). In training only.
    cfg.MODEL.NOISE = CN()
    # The standard deviation of Gaussian noise on the images, in units of the standard deviation used to normalise them.
    cfg.MODEL.NOISE.IMAGE = 0.0
    # The share of images whose label is replaced by one drawn at random.
    cfg.MODEL.NOISE.LABEL = 0.0

    # --- Data -------------------------------------------------------------------------------------------------
    # CSVReID: a file with a header line and the columns path, identity, split and, if known, camera.
    cfg.DATASETS.CSV = CN()
    # The file. A relative path is below FASTREID_DATASETS.
    cfg.DATASETS.CSV.PATH = ""
    # The folder that the paths in the file are relative to and must stay inside. A relative path is below
    # FASTREID_DATASETS. Empty: the folder of the file.
    cfg.DATASETS.CSV.IMAGE_ROOT = ""
    # FolderReID: a folder that holds one folder per split, each with one folder per identity. A relative path is below
    # FASTREID_DATASETS.
    cfg.DATASETS.FOLDER = CN()
    cfg.DATASETS.FOLDER.PATH = ""
    # A regular expression for the file name whose first group is the camera, e.g. c(\d+). Empty: cameras are unknown.
    cfg.DATASETS.FOLDER.CAMERA_PATTERN = ""
    for own in (cfg.DATASETS.CSV, cfg.DATASETS.FOLDER):
        # Which values of the split column, or which folders, are used for training, as queries, and as gallery.
        own.TRAIN_SPLITS = ("train",)
        own.QUERY_SPLITS = ("query",)
        own.GALLERY_SPLITS = ("gallery",)
        # Only these cameras are queries or gallery. Empty: all.
        own.QUERY_CAMERAS = ()
        own.GALLERY_CAMERAS = ()
    # CSVFGVC, for classification: a file with a header line and the columns path, label and split.
    cfg.DATASETS.CLASS_CSV = CN()
    # As in DATASETS.CSV.
    cfg.DATASETS.CLASS_CSV.PATH = ""
    cfg.DATASETS.CLASS_CSV.IMAGE_ROOT = ""
    # Which values of the split column are trained on, and which are tested on.
    cfg.DATASETS.CLASS_CSV.TRAIN_SPLITS = ("train",)
    cfg.DATASETS.CLASS_CSV.TEST_SPLITS = ("test",)
    # ImageFolderFGVC, for classification: a folder that holds two folders, each with one folder per class. A relative
    # path is below FASTREID_DATASETS.
    cfg.DATASETS.CLASS_FOLDER = CN()
    cfg.DATASETS.CLASS_FOLDER.PATH = ""
    # The names of the two folders: the one for training, and the one for testing.
    cfg.DATASETS.CLASS_FOLDER.TRAIN_FOLDER = "train"
    cfg.DATASETS.CLASS_FOLDER.TEST_FOLDER = "val"

    # Classification: n holds every n-th training image of each class out of training and tests on these instead of the
    # test images, for example to choose a learning rate without looking at the test images. 0: none.
    cfg.DATASETS.HOLD_OUT = 0

    # How INPUT.CROP crops a training image. scaled: a crop of random area and aspect ratio (CROP.SCALE, CROP.RATIO),
    # resized to CROP.SIZE. fixed: CROP.SIZE pixels at a random place. In testing it is a centre crop of CROP.SIZE.
    cfg.INPUT.CROP.METHOD = "scaled"

    # What to do with an image that cannot be decoded: stop, or skip it and count it (skip).
    cfg.DATALOADER.BROKEN_IMAGES = "stop"

    # --- Training ---------------------------------------------------------------------------------------------
    # How many of the checkpoints written every SOLVER.CHECKPOINT_PERIOD epochs to keep, the newest. 0: all.
    cfg.SOLVER.CHECKPOINT_KEEP = 0
    # The batch size that SOLVER.BASE_LR and ETA_MIN_LR are for; both are scaled in proportion to IMS_PER_BATCH. 0: they
    # are not scaled.
    cfg.SOLVER.LR_FOR_BATCH = 0
    # The number of parts in which a batch goes through the model, one after the other; their gradients are averaged.
    # For batches that do not fit into memory. An identity's images stay in one part.
    cfg.SOLVER.ACCUMULATE = 1
    # Record the forward and backward pass as a CUDA graph and launch it with one call: for a single GPU that waits for
    # the CPU, as it does with small models.
    cfg.SOLVER.CUDA_GRAPH = False
    # An exponential moving average of the weights and of the BNNecks' statistics; if enabled, it is what is evaluated.
    cfg.SOLVER.EMA = CN()
    cfg.SOLVER.EMA.ENABLED = False
    # The decay after a warm-up; until then it is 1 - (1 + step)^(-2/3).
    cfg.SOLVER.EMA.DECAY = 0.9998
    # The data type of SOLVER.AMP: bf16 | fp16. A CPU or GPU without instructions for it computes in fp32.
    cfg.SOLVER.AMP.DTYPE = "bf16"
    # The number of iterations between two progress lines in the log.
    cfg.SOLVER.LOG_PERIOD = 50

    # --- Evaluation -------------------------------------------------------------------------------------------
    # Average precision. step: as in fast-reid and TransReID. trapezoid: as in the benchmarks' scripts, never larger.
    cfg.TEST.AP = "step"
    # Keep the features in OUTPUT_DIR/features/<dataset>/features.npz, to score them again without the model
    # (tools/evaluate_features.py).
    cfg.TEST.SAVE_FEATURES = False


def get_cfg() -> CfgNode:
    """fast-reid's defaults and ours, with MODEL.DEVICE auto: cuda if available, else cpu."""
    cfg = fastreid_get_cfg()
    add_dcal_config(cfg)
    cfg.MODEL.DEVICE = "auto"
    return cfg


def value_of(cfg: CfgNode, key: str):
    """The value or node of a dotted key such as MODEL.DCAL.GLCA.RATIO."""
    return reduce(getitem, key.split("."), cfg)
