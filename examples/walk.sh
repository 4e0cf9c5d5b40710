#!/usr/bin/env bash
# Runs the commands of a new user, from a clone to a figure, and prints each command, its output and its seconds.
# `examples/walk.sh FOLDER` clones this checkout into the new folder FOLDER, which is kept. Output is folded at 80
# characters.
set -euo pipefail
root=$(realpath "$(dirname "$0")/..")
folder=${1:?the new folder of the clone}

step() { # step COMMAND
	printf '\n$ %s\n' "$1"
	local began=$SECONDS
	eval "$1" || { printf '[failed after %d s]\n' $((SECONDS - began)); exit 1; }
	printf '[%d s]\n' $((SECONDS - began))
}

walk() {
	step "git clone -q $(printf %q "$root") $(printf %q "$folder")"
	step "cd $(printf %q "$folder")"
	step "make setup"
	step "make sweep"
	step "ls -C outputs/demo outputs/demo/best"
	cat > figure.py <<-'PYTHON'
	import siren_sweep

	model = siren_sweep.load("outputs/demo/best/block_02")
	width = model.config.graph_model.hidden_dim_nnr_f
	print(f"R2 {model.final_r2:.4f} with {width} hidden units")
	trials = siren_sweep.open_sweep("outputs/demo").trials
	print(trials.groupby("block")["r2"].agg(["size", "max"]))
	model.plot(50).savefig("figure.png")
	PYTHON
	step "cat figure.py"
	step ".venv/bin/python figure.py"
	step "ls -l figure.png"
	printf '\nin all %d s\n' $SECONDS
}

walk 2>&1 | fold -s -w 80
