-- The best $fraction of all judged texts, or of each source alone: DataComp's way to cut by CLIP score. The score of the
-- last one kept is the threshold, so equal scores fare alike and a little more than the fraction may be kept.
WITH pools AS (
    SELECT *, CASE WHEN $per_source THEN source ELSE 'all' END AS pool
    FROM captions
),

cuts AS (
    SELECT pool, quantile_disc(judge, $fraction ORDER BY judge DESC) AS cut
    FROM pools
    WHERE judge IS NOT NULL
    GROUP BY pool
),

judged AS (
    SELECT uid, candidate, judge, pool, cut, coalesce(judge >= cut, false) AS keep
    FROM pools LEFT JOIN cuts USING (pool)
)

SELECT
    uid,
    candidate,
    keep,
    CASE WHEN keep THEN row_number() OVER (PARTITION BY uid, keep ORDER BY judge DESC, candidate) END AS rank,
    CASE
        WHEN judge IS NULL THEN 'no ' || $judge
        ELSE
            $judge || CASE WHEN keep THEN ' >= ' ELSE ' < ' END || cut
            || ', best ' || $fraction || ' of ' || pool
    END AS reason
FROM judged
