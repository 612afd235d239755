"""What stands side by side in a report is of the same metric."""

from records import put

from tensorized_adapters.reporting.results import read_results
from tensorized_adapters.reporting.tables import score_table


def test_published_scores_stand_beside_the_same_metric_only(real, tmp_path):
    put(tmp_path / "mrpc", real, 0.75, metric="accuracy")
    put(tmp_path / "rte", real, 0.6, task="rte")
    table = score_table(read_results([tmp_path]), "last", published=True)
    assert [*table.cells] == ["method", "mrpc (accuracy)", "rte (accuracy)", "rte as published"]
    assert "The published scores of mrpc are of F1 and are left out beside another metric." in table.caption
