#!/bin/bash
# Several nodes without a scheduler: the same command on every node, with its number.
#   NODES=2 NODE=0 MASTER=10.0.0.1 bash configs/launch/torchrun.sh configs/grpo/tvad-7b.yaml     (and NODE=1 on the other)
# GPUS: of a node, 8; PORT: of the first node, 29500; ACCELERATE: how weights are shared out, zero3.yaml.
set -euo pipefail
gpus=${GPUS:-8}
exec accelerate launch --config_file "${ACCELERATE:-configs/accelerate/zero3.yaml}" --num_machines "$NODES" --num_processes $((gpus * NODES)) \
  --machine_rank "$NODE" --main_process_ip "$MASTER" --main_process_port "${PORT:-29500}" rft/train_grpo.py --config "$@"
