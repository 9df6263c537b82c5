from setuptools import find_packages, setup

setup(name="my-agent", version="0.1", packages=find_packages())
