"""Every metric is written somewhere: one that stays at zero is worse than none."""

import re
from pathlib import Path

import esp
from esp.telemetry import metrics


def test_every_metric_is_used() -> None:
    root = Path(esp.__file__).parent
    code = "\n".join(path.read_text() for path in root.rglob("*.py") if path.name != "metrics.py")
    names = [name for name in vars(metrics) if name.isupper() and hasattr(getattr(metrics, name), "_type")]
    assert len(names) > 20
    assert [name for name in names if not re.search(rf"\bmetrics\.{name}\b", code)] == []
