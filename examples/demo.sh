#!/bin/sh
# The main job on the embedded model: real commands against a real database, in demo-output/.
set -eu
cd "$(dirname "$0")/.."
out=demo-output
rm -rf "$out"
mkdir -p "$out"
export HUBBRIDGE_STORAGE__DATA_DIR="$PWD/$out/data"

run() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

run hubbridge model add "file://$PWD/examples/street/model" --name street
run hubbridge match street --labels examples/labels/street-task.txt
run hubbridge annotate examples/street/images --model street --labels examples/labels/street-task.txt \
    --accept-suggestions 0.7 --out "$out/annotations.json" --previews "$out/previews"

cat <<TEXT

Look at $out/previews/overview.jpg. To try next:

  . .venv/bin/activate && export HUBBRIDGE_STORAGE__DATA_DIR=$out/data
  hubbridge serve                                       # the same in the browser; Ctrl-C ends it
  hubbridge task export images --format yolo --images --out street.zip
  hubbridge job undo 1                                  # take back what the job wrote
  hubbridge annotate YOUR_IMAGES --model https://huggingface.co/onnx-community/rtdetr_r50vd --out annotations.json

The last one needs the internet; a model without ONNX files also needs: pip install -e '.[transformers]'
TEXT
