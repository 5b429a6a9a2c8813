#!/usr/bin/env bash
# The grid of Table 1 on a Slurm cluster: methods x data sets x seeds, each an independent job on one GPU.
#
#   mkdir -p runs/slurm                       # Slurm does not make the folder for its logs
#   make install && .venv/bin/hybrid data --dataset cifar10 && .venv/bin/hybrid data --dataset cifar100
#                                             # FID's weights for nodes without a network connection: docs/how-to/offline.md
#   sbatch slurm/grid.sh                      # from the repository's folder, which all nodes must see
#   sbatch --array=0-5 slurm/grid.sh          # the first six only
#   PROFILE=laptop SLICE=3600 sbatch --time=02:00:00 slurm/grid.sh
#
# A job trains for at most SLICE seconds. Then it stops at a checkpoint with status 75, enters the queue again, and continues
# from there. After the training it judges the method, in the rest of --time. A finished job that runs again does nothing.
# When all jobs are finished, make figures, table and report for each data set. This samples, and trains a small classifier:
# srun --gpus=1 .venv/bin/hybrid reproduce --profile paper --dataset cifar10
#
#SBATCH --job-name=hybrid
#SBATCH --array=0-35
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=48G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=runs/slurm/%A_%a.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"

METHODS=(hybrid mocov2 nvae ddim biggan contrast_on_z)
DATASETS=(cifar10 cifar100)
SEEDS=(0 1 2)
PROFILE=${PROFILE:-paper}
SLICE=${SLICE:-21600}
HYBRID=${HYBRID:-.venv/bin/hybrid}

# The method changes fastest, so that the first jobs of the array complete a table. --array has 6 x 2 x 3 jobs.
i=$SLURM_ARRAY_TASK_ID
method=${METHODS[i % ${#METHODS[@]}]}
i=$((i / ${#METHODS[@]}))
dataset=${DATASETS[i % ${#DATASETS[@]}]}
seed=${SEEDS[i / ${#DATASETS[@]}]}
run=(--profile "$PROFILE" --dataset "$dataset" --seed "$seed" --methods "$method")
if [ "$method" = hybrid ]; then run+=(hybridplus); fi # it uses the same first stage

echo "$(date -Is) $(hostname) ${run[*]}"
status=0
"$HYBRID" train "${run[@]}" --time-limit "$SLICE" || status=$?
if [ "$status" -eq 75 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
[ "$status" -eq 0 ] || exit "$status"
exec "$HYBRID" evaluate "${run[@]}"
