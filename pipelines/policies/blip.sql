-- The paper's filter: each text is judged alone, and kept if its softmax-ITM is at least $threshold.
-- Kept texts of an image rank by itm, best first, and by candidate where itm is equal.
WITH seen AS (
    SELECT
        uid,
        candidate,
        itm,
        NOT regexp_matches(text, '\S') OR list_contains(flags, 'empty') AS is_empty,
        itm IS NULL OR isnan(itm) AS is_unjudged -- to DuckDB, NaN is above every number
    FROM captions
),

judged AS (
    SELECT *, NOT is_empty AND NOT is_unjudged AND itm >= $threshold AS keep
    FROM seen
)

SELECT
    uid,
    candidate,
    keep,
    CASE WHEN keep THEN row_number() OVER (PARTITION BY uid, keep ORDER BY itm DESC, candidate) END AS rank,
    CASE
        WHEN is_empty THEN 'flag: empty'
        WHEN is_unjudged THEN 'no itm'
        WHEN keep THEN 'itm >= ' || $threshold
        ELSE 'itm < ' || $threshold
    END AS reason
FROM judged
