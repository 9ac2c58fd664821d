"""The loader reads the same with PyYAML's own parser, where libyaml is missing."""

import pytest
import yaml

from eventing.resources import document, load_text

TEXT = """\
# a comment
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: &l {a: b}, annotations: *l}
data:
  a: |
    one
  b: 'it''s'
  c: !!str 1
"""


def test_both_parsers_give_the_same_resources_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    with_c = [load_text(text, "f.yaml") for text in (TEXT, f"{TEXT}  d: 1\n")]
    monkeypatch.setattr(document, "_Parser", yaml.SafeLoader)
    without = [load_text(text, "f.yaml") for text in (TEXT, f"{TEXT}  d: 1\n")]
    assert without == with_c
    assert [str(error) for error in without[1].errors] == [
        'f.yaml:10:6: data.d: has to be text, not the number 1; write it in quotes: "1"'
    ]
