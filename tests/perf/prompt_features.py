"""What AHD's text features are worth made of hidden states or of input embeddings (`prompt_features`): a
fresh AHD is trained on what a shipped checkpoint's vision tower sees of generated scenes, and its heatmaps
are measured on others (micro and pixel AUC, RBDC, TBDC).

    python tests/perf/prompt_features.py --train 200 --test 150 --steps 300 --seeds 2
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=int, default=200, help="clips")
    parser.add_argument("--test", type=int, default=150, help="clips")
    parser.add_argument("--steps", type=int, default=300, help="of 8 clips")
    parser.add_argument("--seeds", type=int, default=2)
    known = parser.parse_args()

    from bench.tasks import heatmap
    from tvad.common.shipped import checkpoint, configuration
    from tvad.data.dataset import ClipStore
    from tvad.data.scenes.dataset import ScenesConfig, generate
    from tvad.model import prompt_sets
    from tvad.model.ahd import AnomalyHeatmapDecoder, patch_targets
    from tvad.model.ahd import heatmap as softmax
    from tvad.model.start import load

    model, processor = load(checkpoint("tvad-tiny"))
    prompts = prompt_sets.read(configuration("surveillance", "prompts"))
    store, config = ClipStore(2.0, 8), model.config

    def seen(split: str, clips: int):
        plan = ScenesConfig(split=split, clips=clips, seed=5, max_crowd=2)
        for sample in generate(plan, Path(folder.name, split), 2):
            clip = store.frames(sample)
            vision = processor.vision_inputs([clip])
            with torch.no_grad():
                (one,) = model.model.see_clips(vision["pixel_values_videos"], vision["video_grid_thw"])
            yield sample, clip, one, store.mask(sample)

    folder = tempfile.TemporaryDirectory()
    train, test = list(seen("train", known.train)), list(seen("test", known.test))
    for source in ("hidden", "embeddings"):
        config.prompt_features, config.text_prompts = source, {}
        model.set_text_features(processor, prompts)
        features = model.model.ahd.text_features.clone()
        cosine = float(F.cosine_similarity(features[0], features[1], dim=0))
        rows = []
        for seed in range(known.seeds):
            torch.manual_seed(seed)
            ahd = AnomalyHeatmapDecoder(128, 128, len(config.ahd_layers))
            ahd.text_features.copy_(features)
            fit(ahd, train, known.steps, patch_targets)
            videos = []
            for sample, clip, one, _ in test:
                with torch.no_grad():
                    logits = ahd(one.layers, [one.grid]).logits
                videos.append(heatmap.VideoScores(sample, softmax(logits, *one.grid).numpy(), clip))
            found = heatmap.statistics(videos)
            rows.append([found[name] for name in ("micro_auc", "pixel_auc", "rbdc", "tbdc")])
        for name, value in zip((*range(known.seeds), "mean"), [*rows, np.mean(rows, 0)], strict=True):
            figures = " ".join(f"{figure:.3f}" for figure in value)
            print(f"{source}, cosine of the classes {cosine:.3f}, seed {name}: {figures}", flush=True)
    return 0


def fit(ahd, clips, steps: int, patch_targets) -> None:
    """Stage 1 on what was seen: cross-entropy per patch, the anomalous twice."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(ahd.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 5e-5)
    for _ in range(steps):
        batch = [clips[n] for n in rng.choice(len(clips), 8, replace=False)]
        features = [torch.cat(level) for level in zip(*(one.layers for _, _, one, _ in batch), strict=True)]
        logits = ahd(features, [one.grid for _, _, one, _ in batch]).logits
        targets = torch.cat([patch_targets(mask, *one.grid[1:]).flatten() for _, _, one, mask in batch])
        loss = F.cross_entropy(logits, targets, torch.tensor([1.0, 2.0]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ahd.parameters(), 1.0)
        optimizer.step()
        schedule.step()


if __name__ == "__main__":
    sys.exit(main())
