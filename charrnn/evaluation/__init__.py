"""How well a model predicts a text.

Read `evaluator` first: it scores ids. Then `text_scoring` scores a text as it arrives, and
`line_scores` each line and character. `dynamic_evaluation` lets the weights follow the text,
`comparison` compares two models, `scoring_task` holds a model and a text to score. May import
checkpoint, parallel and what is below them; not sampling.
"""
