#!/bin/bash
# Several nodes under Slurm: the last node's GPUs draw (one rollout server each), the others train.
#   sbatch --nodes 3 configs/launch/slurm.sh configs/grpo/tvad-7b.yaml
#SBATCH --job-name=rft
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --signal=TERM@300            # five minutes before the end: the run writes a checkpoint and ends; submit again to go on
set -euo pipefail
config=$1
model=$(python -c "import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))['model'])" "$config")
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
trainers=("${nodes[@]:0:${#nodes[@]}-1}")
server=${nodes[-1]}
export ROLLOUT_TOKEN=${ROLLOUT_TOKEN:-$(python -c "import secrets; print(secrets.token_hex(16))")}

urls=""
for gpu in $(seq 0 7); do
  srun --overlap --nodes 1 --ntasks 1 --nodelist "$server" --export "ALL,CUDA_VISIBLE_DEVICES=$gpu" \
    tvad serve --rollouts --model "$model" --host 0.0.0.0 --port $((8100 + gpu)) --max-model-len 8192 &
  urls+="http://$server:$((8100 + gpu)),"
done
for gpu in $(seq 0 7); do
  until curl -sf -o /dev/null "http://$server:$((8100 + gpu))/health"; do sleep 5; done
done

srun --overlap --nodes ${#trainers[@]} --ntasks-per-node 1 --nodelist "$(IFS=,; echo "${trainers[*]}")" bash -c "
  exec accelerate launch --config_file configs/accelerate/zero3.yaml --num_machines ${#trainers[@]} --num_processes $((8 * ${#trainers[@]})) \
    --machine_rank \$SLURM_NODEID --main_process_ip ${trainers[0]} --main_process_port 29500 \
    rft/train_grpo.py --config $config --engine server:${urls%,}"
