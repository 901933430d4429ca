"""What a card says of licences, and cards that nobody has filled in."""

import pytest
import yaml

from leaderboard.card import card_template
from leaderboard.intake import submission
from tvad.common.errors import InputError

FILLED = {"name": "x", "organisation": "y", "licence": "mit", "contamination": "none known", "data": ["z"]}
EMPTY = {"data_licences": [], "links": [], "description": ""}


@pytest.mark.parametrize("left", [None, *FILLED, *EMPTY])
def test_a_template_is_not_packed_until_every_text_is_filled_in(left, tmp_path, baseline_runs):
    card = yaml.safe_load(card_template())
    if left:
        card |= {key: value for key, value in (FILLED | EMPTY).items() if key != left}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    runs = {"scenes": baseline_runs / "random"}
    with pytest.raises(InputError, match=f"still as in the template: .*{left or 'name'}") as caught:
        submission.pack(runs, tmp_path / "card.yaml", tmp_path / "s.zip")
    assert "\n" not in str(caught.value) and not (tmp_path / "s.zip").exists()
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card | FILLED | EMPTY))
    assert submission.pack(runs, tmp_path / "card.yaml", tmp_path / "s.zip").card.name == "x"


def test_licences_of_data_and_weights_reach_the_row_and_the_page(place):
    data, licences = ["films", "<b>web</b>"], ["cc-by-4.0", "un<i>known"]
    name = place.scored("random", licence="mit", data=data, data_licences=licences)
    row = place.client.get("/api/tables/scenes").json()["models"][0]["card"]
    assert row["licence"] == "mit" and row["data_licences"] == licences
    page = place.client.get(f"/models/{name}").text
    assert "films (cc-by-4.0)" in page and "&lt;b&gt;web&lt;/b&gt; (un&lt;i&gt;known)" in page
    with pytest.raises(InputError, match="data_licences has 1 entries for 2 of data"):
        place.packed("random", data=data, data_licences=["mit"])
