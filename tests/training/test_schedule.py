from __future__ import annotations

import pytest

from training.schedule import PLANS, phase_at, rate_factor


def test_the_rate_rises_holds_and_falls() -> None:
    def rate(step: int, progress: float) -> float:
        return rate_factor(step, progress, warmup_steps=100, cooldown=0.4)

    assert rate(0, 0.0) == pytest.approx(0.01)
    assert rate(99, 0.1) == rate(500, 0.6) == 1
    assert 0.4 < rate(800, 0.8) < 0.6
    assert rate(1000, 1.0) == pytest.approx(0.01)


@pytest.mark.parametrize("name", PLANS)
def test_plans_cover_the_run_and_only_grow(name: str) -> None:
    phases = PLANS[name].phases
    assert phases[-1].until == 1
    assert [phase.until for phase in phases] == sorted({phase.until for phase in phases})
    assert [phase.sides_px for phase in phases] == sorted(phase.sides_px for phase in phases)
    assert all(
        not any(side % 32 for side in phase.sides_px) and phase.frame_budget >= phase.frames_max for phase in phases
    )
    assert phase_at(phases, 0) == phases[0]
    assert phase_at(phases, 1) == phases[-1]
