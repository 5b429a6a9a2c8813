#!/usr/bin/env bash
# The grid of Table 1 on a Slurm cluster: methods x data sets x seeds, each an independent job on one GPU.
#
#   mkdir -p runs/slurm                       # Slurm does not make the folder of its logs
#   make install && .venv/bin/hybrid data --dataset cifar10 && .venv/bin/hybrid data --dataset cifar100
#   .venv/bin/python -c 'from pytorch_fid.inception import InceptionV3; InceptionV3()'    # FID's weights, for nodes without a network
#   sbatch slurm/grid.sh                      # from the repository's folder, which all nodes must see
#   sbatch --array=0-5 slurm/grid.sh          # the first six only
#   PROFILE=laptop SLICE=3600 sbatch --time=02:00:00 slurm/grid.sh
#
# A job trains for SLICE seconds at most. Then it stops at a checkpoint with status 75, is put into the queue again, and goes
# on from there; once trained, the method is judged, for which the rest of --time is kept. Run again, it finds its work done.
# When all are through, one call per data set draws figures, table and report: hybrid reproduce --profile paper --dataset cifar10
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

# Methods turn fastest, so that the first jobs of the array make whole tables. --array counts all: 6 x 2 x 3.
i=$SLURM_ARRAY_TASK_ID
method=${METHODS[i % ${#METHODS[@]}]}
i=$((i / ${#METHODS[@]}))
dataset=${DATASETS[i % ${#DATASETS[@]}]}
seed=${SEEDS[i / ${#DATASETS[@]}]}
run=(--profile "$PROFILE" --dataset "$dataset" --seed "$seed" --methods "$method")
if [ "$method" = hybrid ]; then run+=(hybridplus); fi # on the same first stage, so in the same job

echo "$(date -Is) $(hostname) ${run[*]}"
status=0
"$HYBRID" train "${run[@]}" --time-limit "$SLICE" || status=$?
if [ "$status" -eq 75 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
[ "$status" -eq 0 ] || exit "$status"
exec "$HYBRID" evaluate "${run[@]}"
