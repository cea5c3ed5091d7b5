from xpnet.runs.regularization import dropout_against_l2
from xpnet.runs.settings import make_run


def test_each_kind_is_trained_without_the_other(digits):
    def accuracies(weight_decay, dropout):
        run = make_run("mlp", epochs=2, weight_decay=weight_decay, hidden=[12], dropout=dropout)
        return [(one.kind, one.strength, one.train) for one in dropout_against_l2(run, digits, [0.01], [0.2], [0])]

    assert accuracies(10.0, 0.9) == accuracies(0.0, 0.0)
