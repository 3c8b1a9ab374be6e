"""Only for what pyproject.toml cannot say: the extension is built by build_ext.py."""

from setuptools import setup

setup(cffi_modules=["build_ext.py:ffibuilder"])
