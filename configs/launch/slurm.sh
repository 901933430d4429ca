#!/bin/bash
# Several nodes under Slurm: the last node's GPUs draw (one rollout server each), the others train.
#   sbatch --nodes 3 configs/launch/slurm.sh configs/grpo/tvad-7b.yaml [OPTIONS OF rft/train_grpo.py]
# GPUS: of a node, 8; ACCELERATE: how weights are shared out, zero3.yaml; PORT: of the first trainer, 29500; SERVER_PORT: of the
# first server, 8100; MODEL_LEN: most tokens of prompt and completion, 8192.
#SBATCH --job-name=rft
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --signal=B:TERM@300          # five minutes before the end: the run writes a checkpoint and ends; submit again to go on
set -euo pipefail
config=$1 gpus=${GPUS:-8} port=${SERVER_PORT:-8100}
model=$(python -c "import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))['model'])" "$config")
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
(( ${#nodes[@]} > 1 )) || { echo "slurm.sh: one node; expected two at least, of which the last draws" >&2; exit 2; }
trainers=("${nodes[@]:0:${#nodes[@]}-1}")
server=${nodes[-1]}
export ROLLOUT_TOKEN=${ROLLOUT_TOKEN:-$(python -c "import secrets; print(secrets.token_hex(16))")}

urls="" pids=()
for gpu in $(seq 0 $((gpus - 1))); do
  srun --overlap --nodes 1 --ntasks 1 --nodelist "$server" --export "ALL,CUDA_VISIBLE_DEVICES=$gpu" \
    tvad serve --rollouts --model "$model" --host 0.0.0.0 --port $((port + gpu)) --max-model-len "${MODEL_LEN:-8192}" &
  pids+=($!)
  urls+="http://$server:$((port + gpu)),"
done
for gpu in $(seq 0 $((gpus - 1))); do
  until curl -sf --noproxy '*' -o /dev/null "http://$server:$((port + gpu))/health"; do
    kill -0 "${pids[gpu]}" || { echo "slurm.sh: rollout server $gpu on $server ended before it was ready" >&2; exit 1; }
    sleep 5
  done
done

export NODES=${#trainers[@]} MASTER=${trainers[0]} GPUS=$gpus
srun --overlap --nodes "$NODES" --ntasks-per-node 1 --nodelist "$(IFS=,; echo "${trainers[*]}")" \
  bash -c 'NODE=$SLURM_NODEID exec bash configs/launch/torchrun.sh "$@"' bash "$config" --engine "server:${urls%,}" "${@:2}" &
run=$!
# To the trainers alone, the step behind the servers': they finish theirs, for which the servers must draw on.
trap 'scancel --signal TERM "$SLURM_JOB_ID.$gpus"' TERM
code=0
wait "$run" || code=$?
while kill -0 "$run" 2>/dev/null; do code=0; wait "$run" || code=$?; done # a signal ends the first wait
exit "$code"
