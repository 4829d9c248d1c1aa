"""The measurements behind everything that the documents claim.

`subjects` holds the networks and data, `peers` the rival methods, and `measuring` the tools. Every
other folder holds measurements, one per file. Their results are in `results`, and `tables` writes
them into the documents.

python -m benchmarks --list
python -m benchmarks NAME [--data FOLDER] [--output FILE] ...
python -m benchmarks tables
"""
