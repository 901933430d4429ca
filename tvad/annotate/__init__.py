"""Fine-grained annotation of surveillance videos by a teacher: T-VAU's construction pipeline (arXiv
2511.00524) and VANGUARD's sub-clip reasoning (arXiv 2605.02912). Neither has published code; where the papers
are silent the choice is ours and is marked (ours) where it stands."""
