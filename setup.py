import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Bounds keep versions with known weaknesses out; SECURITY.md says which.
# fastreid is not in this list: its wheel pins torch 1.13.1, so it is installed with --no-deps (see README.md).
# What fast-reid imports is listed here instead.
FASTREID_NEEDS = [
    "pyyaml>=6",
    "scikit-learn>=1.5",
    "tabulate>=0.9",
    "tensorboard>=2.12",
    "termcolor>=2.2",
    "yacs>=0.1.8",
]

EXTRAS = {
    "export": ["onnx>=1.22", "onnxscript>=0.5", "onnxruntime>=1.22"],
    "milvus": ["pymilvus>=2.6", "milvus-lite>=2.5"],
    "parquet": ["pyarrow>=14.0.1"],
    # starlette comes with fastapi and h11 with uvicorn, which also accept weak ones; fastapi 0.133 is the first that
    # accepts starlette 1.
    "serve": ["fastapi>=0.133", "h11>=0.16", "python-multipart>=0.0.31", "starlette>=1.7", "uvicorn>=0.30"],
}

setup(
    name="dcal_reid",
    version=re.search(r'__version__ = "(.+)"', (HERE / "dcal_reid/__init__.py").read_text("utf-8")).group(1),
    description="Dual Cross-Attention Learning for fast-reid: vision transformers for object re-identification",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["dcal_reid", "dcal_reid.*"]),
    install_requires=[
        "torch>=2.10",
        "torchvision>=0.25",
        "timm>=1.0.24",
        "numpy>=1.26",
        "scipy>=1.11",
        "pillow>=13",
        "safetensors>=0.4",
        "tqdm>=4.66.3",
        "jinja2>=3.1.6",
        "matplotlib>=3.8",
        "opencv-python-headless>=4.8.1.78",
        *FASTREID_NEEDS,
    ],
    package_data={"dcal_reid": ["py.typed", "serve/static/*", "visualize/templates/*"]},
    extras_require=EXTRAS
    | {
        # On macOS 1.11 to 1.13 cannot map files.
        "cpu": ["faiss-cpu>=1.8", 'faiss-cpu>=1.15; sys_platform == "darwin"'],
        "gpu": ["faiss-gpu>=1.15"],
        "dev": [
            "httpx>=0.27",
            "hypothesis>=6.100",
            "playwright>=1.65",
            "pytest>=8.2",
            "pytest-xdist>=3.5",
            "ruff>=0.9",
            "schemathesis>=4.32",
            *(package for packages in EXTRAS.values() for package in packages),
        ],
    },
)
