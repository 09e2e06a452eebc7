-- The paper's filter: each text is judged alone, and kept if its score (softmax-ITM) is at least $threshold.
-- Kept texts of an image rank by that score, best first, and by candidate where it is equal.
WITH judged AS (
    SELECT uid, candidate, judge, coalesce(judge >= $threshold, false) AS keep
    FROM captions
)

SELECT
    uid,
    candidate,
    keep,
    CASE WHEN keep THEN row_number() OVER (PARTITION BY uid, keep ORDER BY judge DESC, candidate) END AS rank,
    CASE
        WHEN judge IS NULL THEN 'no ' || $judge
        WHEN keep THEN $judge || ' >= ' || $threshold
        ELSE $judge || ' < ' || $threshold
    END AS reason
FROM judged
