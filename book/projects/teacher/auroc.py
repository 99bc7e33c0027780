"""Solution of the project `auroc`: the share of pairs in which the defective image scores higher, a tie one half."""


def auroc(scores, labels):
    """By all pairs: slow for many images, and impossible to get wrong."""
    good, bad = scores[labels == 0], scores[labels == 1]
    above = (bad[:, None] > good).mean()
    return above + 0.5 * (bad[:, None] == good).mean()
