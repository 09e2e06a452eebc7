-- The paper's filter: each text is judged alone, and kept if its score (softmax-ITM) is at least $threshold. What people
-- wrote is kept as it is: the paper filters web and synthetic texts only (section 3.3).
-- Kept texts of an image rank by that score, best first, and by candidate where it is equal.
WITH judged AS (
    SELECT uid, candidate, judge, source = 'human' AS is_human, is_human OR coalesce(judge >= $threshold, false) AS keep
    FROM captions
)

SELECT
    uid,
    candidate,
    keep,
    CASE WHEN keep THEN row_number() OVER (PARTITION BY uid, keep ORDER BY judge DESC NULLS LAST, candidate) END AS rank,
    CASE
        WHEN is_human THEN 'human'
        WHEN judge IS NULL THEN 'no ' || $judge
        WHEN keep THEN $judge || ' >= ' || $threshold
        ELSE $judge || ' < ' || $threshold
    END AS reason
FROM judged
