-- A learned mix of all scores: kept is what `capfilt calibrate` gives a probability of at least $threshold, by a logistic
-- regression over the judges' scores that it fitted to labeled pairs. What people wrote is kept as it is.
-- Kept texts of an image rank by that probability, best first, and by candidate where it is equal.
WITH judged AS (
    SELECT uid, candidate, mix, source = 'human' AS is_human, is_human OR coalesce(mix >= $threshold, false) AS keep
    FROM captions
)

SELECT
    uid,
    candidate,
    keep,
    CASE WHEN keep THEN row_number() OVER (PARTITION BY uid, keep ORDER BY mix DESC NULLS LAST, candidate) END AS rank,
    CASE
        WHEN is_human THEN 'human'
        WHEN mix IS NULL THEN 'no mix'
        WHEN keep THEN 'mix >= ' || $threshold
        ELSE 'mix < ' || $threshold
    END AS reason
FROM judged
