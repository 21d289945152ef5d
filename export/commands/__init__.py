"""
The commands of `triton-export`, a module for each group of them.

    shared     what all of them print alike
    convert    `export`: a model becomes a new version
    hardware   `targets`, `build-plan`: what there is to serve on, and a plan for one more kind of GPU
    report     `report`: one version as a page
"""
