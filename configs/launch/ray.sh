#!/bin/bash
# One rollout server over the GPUs of several nodes, by vLLM's own Ray executor, for weights that one node does not hold:
#   NODES=2 NODE=0 MASTER=10.0.0.7 bash configs/launch/ray.sh configs/grpo/tvad-7b.yaml     (and NODE=1 on the other)
# The trainers then, elsewhere: torchrun.sh … --engine server:http://10.0.0.7:8100
# ROLLOUT_TOKEN: the same for all; TVAD_WEIGHTS: a folder that every node of the server sees; GPUS: of a node, 8; PORT: Ray's,
# 6379; SERVER_PORT: 8100; MODEL_LEN: most tokens of prompt and completion, 8192.
set -euo pipefail
config=$1
: "${ROLLOUT_TOKEN:?ray.sh: set it, the same for server and trainers}" "${TVAD_WEIGHTS:?ray.sh: set it to a folder that every node sees}"
if [ "$NODE" != 0 ]; then
  exec ray start --address "$MASTER:${PORT:-6379}" --block
fi
ray start --head --node-ip-address "$MASTER" --port "${PORT:-6379}"
trap 'ray stop' EXIT
model=$(python -c "import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))['model'])" "$config")
# vLLM waits for the other nodes.
RAY_ADDRESS="$MASTER:${PORT:-6379}" tvad serve --rollouts --model "$model" --host 0.0.0.0 --port "${SERVER_PORT:-8100}" --max-model-len "${MODEL_LEN:-8192}" \
  --distributed-executor-backend ray --tensor-parallel-size $((${GPUS:-8} * NODES)) "${@:2}"
