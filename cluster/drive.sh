#!/usr/bin/env bash
# On the head: run a study as a service. It goes on when ssh ends, and where it fails (exit code 4,
# 75, a kill) the same command is run again, which goes on from the store. Bad input (2), a damaged
# file (3) and a study that is done (0, 5) are left as they are.
#
#   cluster/drive.sh studies/layerwise_search.py --address auto --out /shared/runs --gpus-per-trial 0.25
#   journalctl -fu lthray-study         what it says
#   sudo systemctl stop lthray-study    Ctrl-C
set -eu
cd "$(dirname "$0")/.."
sudo systemd-run --unit=lthray-study --collect --uid="$(id -u)" --working-directory="$PWD" \
  --setenv=HOME="$HOME" --setenv=RAY_AUTH_MODE=token --setenv=PYTHONUNBUFFERED=1 \
  --property=Restart=on-failure --property=RestartSec=60 --property='RestartPreventExitStatus=2 3 5' \
  --property=StartLimitIntervalSec=6h --property=StartLimitBurst=20 --property=TimeoutStopSec=120 \
  "$HOME/venv/bin/python" "$@"
