from xpnet.training.regularization import dropout_against_l2

from xpnet.training import TrainConfig


def test_each_kind_is_trained_without_the_other(digits):
    def accuracies(weight_decay, dropout):
        options = {"hidden": [12], "dropout": dropout}
        config = TrainConfig.for_model("mlp", epochs=2, weight_decay=weight_decay, model_options=options)
        return [(run.kind, run.strength, run.train) for run in dropout_against_l2(config, digits, [0.01], [0.2], [0])]

    assert accuracies(10.0, 0.9) == accuracies(0.0, 0.0)
