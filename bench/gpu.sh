#!/usr/bin/env bash
# Everything that waits for a GPU, in stages of nine minutes at most.
#
#   FIELD_FILE=fields/field_..._64000x1736.safetensors bench/gpu.sh [OUT [STAGE...]]
#
# runs the named stages, or the first that is not finished, and leaves what they find in OUT (bench/results/gpu). A
# training run that its stage's time cuts off goes on from its checkpoint when the stage is called again. A finished
# stage is not run again as long as its marker, OUT/STAGE.done, is there.
#
#   tests      pytest of what only a GPU can show
#   engine     the engine against the plain loop and the rate of products, in TF32 and in float32
#   trials     four trials at once on one GPU against one, with MPS where it is installed
#   windows    64,000 frames in windows of 125 and of 62
#   block4 block5 block6 block7    10,000, 20,000, 40,000 and 64,000 frames as one network; the aim is R2 0.98
#
# Exit codes: 0, what was asked for is finished; 1, a stage failed; 2, a mistake in what was given; 3, a stage needs
# another call.
#
# It takes a checkout, Python, and the package index that pip is set up for, where torch, numpy, PyYAML or pytest are
# not there: they are then installed into .venv-gpu. The field's cache file of 64,000 frames is made where zarr is, by
#
#   python -c 'from pathlib import Path; from siren_sweep.field import open_field
#   open_field(Path("FOLDER"), n_frames=64000, n_input_neurons=1736, cache_dir=Path("fields"))'
#
# from the folder with stimulus.zarr and pos.zarr; shorter runs use its first frames.
#
# Also from the environment: PYTHON; STAGE_S, seconds that a stage may take (510); N_NEURONS (1736); KEEP_WEIGHTS=1 to
# keep the weights, up to 130 MB a run, in OUT/work. DEVICE=cpu QUICK=1 tries everything in tiny sizes, with a field
# file of 64 frames.
set -euo pipefail

STAGES=(tests engine trials windows block4 block5 block6 block7)
AIM=0.98
DEVICE=${DEVICE:-cuda} QUICK=${QUICK:-} STAGE_S=${STAGE_S:-510} N_NEURONS=${N_NEURONS:-1736}
NEEDED="import torch, numpy, yaml, pytest"

main() {
	FIELD_FILE=${FIELD_FILE:+$(realpath -m "$FIELD_FILE")} OUT=${1:+$(realpath -m "$1")}
	shift || true
	cd "$(dirname "${BASH_SOURCE[0]}")/.."
	OUT=${OUT:-$PWD/bench/results/gpu}
	mkdir -p "$OUT/work"
	local name worst=0
	local -a asked=("$@")
	for name in "${asked[@]}"; do
		[[ " ${STAGES[*]} " == *" $name "* ]] || fail 2 "a stage is one of ${STAGES[*]}, got '$name'"
	done
	if ((${#asked[@]} == 0)); then
		for name in "${STAGES[@]}"; do
			[[ -e $OUT/$name.done ]] || { asked=("$name") && break; }
		done
	fi
	STARTED=$SECONDS # of the first stage: what has to be installed takes its time
	((${#asked[@]})) || { say "all stages are finished: $OUT" && return 0; }
	find_python
	for name in "${asked[@]}"; do
		run_stage "$name" || worst=$(worse $? "$worst")
	done
	return "$worst"
}

run_stage() { # NAME: 0 finished, 1 failed, 3 another call
	local name=$1 code=0
	[[ -e $OUT/$name.done ]] && { say "$name is finished already" && return 0; }
	say "$name: begins"
	case $name in
	tests) stage_tests || code=$? ;;
	engine) stage_engine || code=$? ;;
	trials) stage_trials || code=$? ;;
	windows) stage_windows || code=$? ;;
	block*) "stage_$name" || code=$? ;;
	esac
	case $code in
	0) touch "$OUT/$name.done" && say "$name: finished after $((SECONDS - STARTED)) s" ;;
	3) say "$name: not finished after $((SECONDS - STARTED)) s; it needs another call and goes on from there" ;;
	*) say "$name: FAILED (exit code $code); see $OUT" && code=1 ;;
	esac
	STARTED=$SECONDS
	return "$code"
}

stage_tests() { # without the other tests' conftest and settings, which need the packages of the whole program
	limited tests.log -m pytest -q -rs --noconftest -c /dev/null --rootdir . -p no:cacheprovider \
		-W ignore::pytest.PytestUnknownMarkWarning tests/train/test_gpu.py
}

stage_engine() {
	local precision code=0 sizes=()
	[[ $QUICK ]] && sizes=(--sizes 8x1x2 --turns 1)
	for precision in reduced float32; do
		[[ -e $OUT/engine_$precision.json ]] && continue
		limited "engine_$precision.log" bench/engine.py --device "$DEVICE" --precision "$precision" "${sizes[@]}" \
			--json "$OUT/engine_$precision.json" || code=$?
		((code == 0)) || return "$code"
	done
}

stage_trials() {
	local sizes=()
	[[ $QUICK ]] && sizes=(--sizes 8x1x2 --trials 2 --seconds 0.2)
	limited trials.log bench/gpu_trials.py --device "$DEVICE" "${sizes[@]}" --json "$OUT/trials.json"
}

#                            frames width layers T_period rate steps window; then the same in tiny
stage_windows() {
	train windows_125 "$(settings 64000 96 3 84 7e-4 1000 125 / 64 8 1 8 1e-3 20 16)" || return
	train windows_62 "$(settings 64000 96 3 62 7e-4 1000 62 / 64 8 1 8 1e-3 20 8)"
}
stage_block4() { train block4 "$(settings 10000 512 4 3333 7e-5 80000 0 / 20 8 1 8 1e-3 20 0)"; }
stage_block5() { train block5 "$(settings 20000 640 4 6667 6e-5 160000 0 / 30 8 1 8 1e-3 20 0)"; }
stage_block6() { train block6 "$(settings 40000 896 4 13333 5e-5 280000 0 / 40 8 1 8 1e-3 20 0)"; }
stage_block7() { train block7 "$(settings 64000 1024 4 21333 4e-5 400000 0 / 64 8 1 8 1e-3 20 0)"; }

settings() { # one of the two lists, as a config
	while [[ $QUICK && $1 != / ]]; do shift; done
	[[ $QUICK ]] && shift
	cat <<-YAML
		dataset: {n_input_neurons: $N_NEURONS}
		graph_model: {hidden_dim_nnr_f: $2, n_layers_nnr_f: $3, omega_f: 30, nnr_f_T_period: $4, nnr_f_xy_period: 16,
		  window_frames: $7}
		training: {n_training_frames: $1, learning_rate_NNR_f: $5, inr_batch_size: 8, checkpoint_every_s: 20}
		claude: {total_steps: $6, time_budget_min: 600}
	YAML
}

train() { # NAME CONFIG: trains it, or goes on; OUT/NAME.json is its result
	local name=$1 work=$OUT/work/$1 code=0
	[[ -e $OUT/$name.json ]] && return 0
	[[ -e $FIELD_FILE ]] || { say "FIELD_FILE must name the field's cache file, got '$FIELD_FILE'" && return 1; }
	printf '%s\n' "$2" >"$OUT/$name.yaml"
	limited "$name.log" -m siren_sweep.train "$OUT/$name.yaml" --field "$FIELD_FILE" --device "$DEVICE" \
		--out "$work" || code=$?
	((code == 0)) || return "$code"
	cp "$work/result.json" "$OUT/$name.json" || return
	[[ ${KEEP_WEIGHTS:-} ]] || rm -f "$work/weights.pt"
	say "$name: R2 $("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["final_r2"])' "$OUT/$name.json") (aim $AIM)"
}

limited() { # LOG ARGUMENTS...: Python with what is left of the stage's time; 3 where that was over before it ended
	local log=$1 left=$((STAGE_S - SECONDS + STARTED)) code=0
	shift
	((left > 0)) || return 3
	PYTHONPATH=$PWD PYTHONUNBUFFERED=1 timeout -k 10 "$left" "$PYTHON" "$@" 2>&1 | tee -a "$OUT/$log" || code=$?
	((code == 124 || code == 137)) && return 3
	return "$code"
}

find_python() {
	local own found="" known=(.venv/bin/python .venv-gpu/bin/python python3)
	[[ ${PYTHON:-} ]] && known=("$PYTHON" .venv-gpu/bin/python)
	for own in "${known[@]}"; do
		"$own" -c "$NEEDED" 2>/dev/null && found=$own && break
	done
	PYTHON=${found:-${PYTHON:-python3}}
	if [[ ! $found ]]; then
		say "torch, numpy, PyYAML or pytest are missing: installing them into .venv-gpu"
		"$PYTHON" -m venv --system-site-packages .venv-gpu
		.venv-gpu/bin/python -m pip install -q torch numpy PyYAML pytest
		PYTHON=.venv-gpu/bin/python
	fi
	[[ $DEVICE == cpu ]] || "$PYTHON" -c 'import torch; print(torch.__version__, torch.cuda.get_device_name())' ||
		fail 1 "torch finds no GPU; DEVICE=cpu QUICK=1 tries the script without one"
}

worse() { # the worse of two exit codes: 1, then 3, then 0
	if (($1 == 1 || $2 == 1)); then echo 1; else echo $(($1 > $2 ? $1 : $2)); fi
}
say() { echo "gpu.sh: $*" >&2; }
fail() { say "$2" && exit "$1"; }

main "$@"
