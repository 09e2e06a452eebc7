-- Several judges decide together. vote: a text is kept if enough of them give it their threshold, and one that is silent
-- gives no vote. mean, min: that of all scores is at least $threshold, and a text that not all have judged is dropped; it
-- asks for scores on one scale, as select.calibrated makes them.
-- Kept texts of an image rank by votes, mean or min, then by the first judge's score, then by candidate.
WITH settings AS (
    SELECT CASE
        WHEN $combine <> 'vote' THEN $threshold
        WHEN $votes = 0 THEN len($judges) // 2 + 1
        ELSE $votes
    END AS least
),

heard AS (
    SELECT
        uid,
        candidate,
        judges,
        list_count(list_filter(
            judges, lambda score, judge: coalesce(score >= coalesce(($thresholds::DOUBLE[])[judge], $threshold), false)
        )) AS votes,
        list_count(judges) = len(judges) AS is_complete
    FROM captions
),

valued AS (
    SELECT
        *,
        CASE
            WHEN $combine = 'vote' THEN votes
            WHEN NOT is_complete THEN NULL
            WHEN $combine = 'mean' THEN list_avg(judges)
            ELSE list_min(judges)
        END AS value
    FROM heard
),

judged AS (
    SELECT *, coalesce(value >= least, false) AS keep
    FROM valued, settings
)

SELECT
    uid,
    candidate,
    keep,
    CASE
        WHEN keep
            THEN row_number() OVER (PARTITION BY uid, keep ORDER BY value DESC, judges[1] DESC NULLS LAST, candidate)
    END AS rank,
    CASE
        WHEN value IS NULL THEN 'no ' || $judges[list_position(list_transform(judges, lambda s: s IS NULL), true)]
        WHEN $combine = 'vote' THEN 'votes ' || votes || CASE WHEN keep THEN ' >= ' ELSE ' < ' END || least::INTEGER
        ELSE $combine || CASE WHEN keep THEN ' >= ' ELSE ' < ' END || least
    END AS reason
FROM judged
