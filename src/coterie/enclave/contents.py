"""Contents of enclave images: which packages for which nodes, and which of their files.

Coterie's own training needs two images, and so has two measurements: parameter servers do without
TensorFlow. A third image, built only on request, runs TensorFlow programs. Lists name what goes in.
Patterns name the files that are left out because a running node does not need them. Fewer files
mean fewer checks at the start, and less code to trust.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final, Literal, get_args

ImageName = Literal["ps", "worker", "tensorflow"]
IMAGES: Final[tuple[ImageName, ...]] = get_args(ImageName)
#: The images that are built if none is named.
USUAL_IMAGES: Final[tuple[ImageName, ...]] = ("ps", "worker")

_SERVER: Final = (
    "annotated-types",
    "asn1crypto",
    "cbor2",
    "certifi",
    "cffi",
    "cryptography",
    "dcap-qvl",
    "grpcio",
    "numpy",
    "prometheus-client",
    "protobuf",
    "pydantic",
    "pydantic-core",
    "pyjwt",
    "pyopenssl",
    "typing-extensions",
    "typing-inspection",
)
_TENSORFLOW: Final = (
    "absl-py",
    "astunparse",
    "charset-normalizer",
    "flatbuffers",
    "gast",
    "google-pasta",
    "h5py",
    "idna",
    "keras",
    "ml-dtypes",
    "namex",
    "opt-einsum",
    "optree",
    "packaging",
    "requests",
    "rich",
    "six",
    "tensorflow-cpu",
    "termcolor",
    "urllib3",
    "wrapt",
)
_WORKER: Final = tuple(sorted((*_SERVER, *_TENSORFLOW)))
# What reads the calls of a peer's TensorFlow.
_CALLS: Final = ("hpack", "hyperframe")
#: Distributions by image; a chief runs the workers' image.
DISTRIBUTIONS: Final[dict[ImageName, tuple[str, ...]]] = {
    "ps": _SERVER,
    "worker": _WORKER,
    "tensorflow": tuple(sorted((*_WORKER, *_CALLS))),
}

# Coterie's own folders that no node runs, most importantly the plaintext transport (decision 9).
_NOT_FOR_NODES: Final = (
    "coterie/api.py",
    "coterie/cli/*",
    "coterie/guest/*",
    "coterie/paper/*",
    "coterie/plaintext/*",
    "coterie/report/*",
    "coterie/serving/*",
    "coterie/tensorflow/*",
    "coterie/data/prepare/compression.py",
    "coterie/data/prepare/numeric.py",
    "coterie/data/prepare/encoding.py",
    "coterie/data/prepare/layout.py",
    "coterie/data/prepare/lines.py",
    "coterie/data/prepare/preparation.py",
    "coterie/data/prepare/reader.py",
    "coterie/data/prepare/staging.py",
    "coterie/data/prepare/statistics.py",
    "coterie/data/prepare/synthetic.py",
    "coterie/data/prepare/synthetic_model.py",
    "coterie/enclave/manifest.template",
    "coterie/requirements.lock",
)
_NOT_FOR_RUNNING: Final = (
    "*/__pycache__/*",
    "*.pyc",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.h",
    "*.hpp",
    "*.c",
    "*.cc",
    "*.a",
    "*.typed",
    "*.dist-info/*",
    "*/tests/*",
    "../*",
    "*.pth",
    "grpc_tools/*",
    "google/protobuf/*.proto",
    "google/_upb/*.md",
    "numpy/f2py/*",
    "numpy/distutils/*",
    "numpy/doc/*",
    "numpy/_core/lib/pkgconfig/*",
    "pydantic/v1/*",
    "pydantic/mypy.py",
    "tensorflow/include/*",
    "tensorflow/tools/pip_package/*",
)
# Needed although a pattern above matches.
_NEEDED: Final = (
    "*.dist-info/METADATA",
    "numpy/_core/tests/_natype.py",
    # A node computes with the native kernels only if these are what they were built from.
    "coterie/plane/native/*.c",
    "coterie/plane/native/*.h",
)
# For TensorFlow programs: the layer below with its library and that library's source, and all of
# TensorFlow's code, so that its digest is the one that contracts name.
_FOR_PROGRAMS: Final = (
    "coterie/tensorflow/*.py",
    "coterie/tensorflow/native/*",
    "tensorflow/*.py",
)
_STANDARD_LIBRARY_WITHOUT: Final = (
    "__pycache__/*",
    "*/__pycache__/*",
    "site-packages/*",
    "config-*",
    "curses/*",
    "dbm/*",
    "distutils/*",
    "ensurepip/*",
    "idlelib/*",
    "lib2to3/*",
    "pydoc_data/*",
    "sqlite3/*",
    "test/*",
    "*/test/*",
    "*/tests/*",
    "tkinter/*",
    "turtle*",
    "venv/*",
    "*.a",
    "*.txt",
    "lib-dynload/_crypt*",
    "lib-dynload/_curses*",
    "lib-dynload/_dbm*",
    "lib-dynload/_gdbm*",
    "lib-dynload/_sqlite3*",
    "lib-dynload/_test*",
    "lib-dynload/_tkinter*",
    "lib-dynload/_xx*",
    "lib-dynload/nis*",
    "lib-dynload/ossaudiodev*",
    "lib-dynload/readline*",
    "lib-dynload/xx*",
    "lib-dynload/_ctypes_test*",
)


def belongs(path: PurePosixPath, image: ImageName = "worker") -> bool:
    """Whether a file of an installed distribution, named from site-packages, goes into an image."""
    text = path.as_posix()
    if _matches(text, _NEEDED) or (image == "tensorflow" and _matches(text, _FOR_PROGRAMS)):
        return True
    return not _matches(text, _NOT_FOR_RUNNING) and not _matches(text, _NOT_FOR_NODES)


def standard(path: PurePosixPath) -> bool:
    """Whether a file of the standard library, named from its folder, goes into images."""
    return not _matches(path.as_posix(), _STANDARD_LIBRARY_WITHOUT)


def _matches(text: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)
