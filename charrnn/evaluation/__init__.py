"""How well a model predicts a text.

Read `evaluator` first: the score of ids; then `text_scoring`, of a text as it arrives, and
`line_scores`, of each line and character. `dynamic_evaluation` lets the weights follow the text,
`comparison` compares two models, `scoring_task` is a model and a text to be scored. May import
checkpoint, parallel and what is below them; not sampling.
"""
