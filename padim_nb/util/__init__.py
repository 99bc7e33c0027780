"""What all folders share: whole files and the cache (files), model files, validated settings, devices, facts of the
machine, the published counts of MVTec AD.
"""
