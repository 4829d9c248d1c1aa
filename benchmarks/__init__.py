"""Everything that the documents claim, measured.

`subjects` are what is measured on, `peers` what is compared with, `measuring` how; every other
folder holds measurements, one per file, and `results` what they found. `tables` puts it into the
documents.

python -m benchmarks --list
python -m benchmarks NAME [--data FOLDER] [--output FILE] ...
python -m benchmarks tables
"""
