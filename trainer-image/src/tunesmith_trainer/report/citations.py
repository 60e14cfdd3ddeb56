"""The paper of each alignment method, for who publishes what was trained by it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper on arXiv.

    Attributes:
        title: Its title.
        authors: Who wrote it, in short.
        year: When it came out.
        arxiv: Its number.
    """

    title: str
    authors: str
    year: int
    arxiv: str

    @property
    def link(self) -> str:
        """Where it is to be read; the Hub shows papers that a card links to."""
        return f"https://arxiv.org/abs/{self.arxiv}"


PAPERS = {
    "dpo": Paper(
        "Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
        "Rafailov et al.",
        2023,
        "2305.18290",
    ),
    "orpo": Paper(
        "ORPO: Monolithic Preference Optimization without Reference Model", "Hong, Lee, Thorne", 2024, "2403.07691"
    ),
    "cpo": Paper(
        "Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance in Machine Translation",
        "Xu et al.",
        2024,
        "2401.08417",
    ),
    "simpo": Paper(
        "SimPO: Simple Preference Optimization with a Reference-Free Reward", "Meng, Xia, Chen", 2024, "2405.14734"
    ),
    "kto": Paper("KTO: Model Alignment as Prospect Theoretic Optimization", "Ethayarajh et al.", 2024, "2402.01306"),
    "reward": Paper(
        "Training language models to follow instructions with human feedback", "Ouyang et al.", 2022, "2203.02155"
    ),
    "grpo": Paper(
        "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        "Shao et al.",
        2024,
        "2402.03300",
    ),
    "rloo": Paper(
        "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs",
        "Ahmadian et al.",
        2024,
        "2402.14740",
    ),
    "ppo": Paper("Proximal Policy Optimization Algorithms", "Schulman et al.", 2017, "1707.06347"),
}
