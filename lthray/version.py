"""The version of lthray, which lower modules want of the package and nothing else."""

__version__ = "0.1.0"
