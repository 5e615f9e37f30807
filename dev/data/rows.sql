-- Rows of the sample data set for the units ${first} to ${last}; a unit is about 1 MiB with its indexes.
-- The same units give the same rows: nothing here depends on the clock, on chance or on the order of execution.
USE keystone;  -- sequences need a current schema
SET SESSION group_concat_max_len = 1048576;

INSERT INTO keystone.project (id, uuid, name, description, enabled, parent_id)
  SELECT seq, MD5(CONCAT('project-', seq)), CONCAT('project-', seq), REPEAT(CONCAT('Project ', seq, '. '), 8),
         seq MOD 17 <> 0, IF(seq > 10, seq DIV 10, NULL)
  FROM seq_${first}_to_${last};

INSERT INTO keystone.account (id, project_id, email, password_hash, extra)
  SELECT (u.seq - 1) * 50 + k.seq, u.seq, CONCAT('user-', u.seq, '-', k.seq, '@site-', k.seq MOD 7, '.example'),
         UNHEX(SHA2(CONCAT('password-', u.seq, '-', k.seq), 512)),
         JSON_OBJECT('language', ELT(1 + k.seq MOD 4, 'en', 'de', 'fr', 'ja'), 'number', k.seq)
  FROM seq_${first}_to_${last} u JOIN seq_1_to_50 k;

INSERT INTO nova.instance (id, uuid, project_id, hostname, host, state, vcpus, memory_mb, created_at)
  SELECT (u.seq - 1) * 100 + k.seq, MD5(CONCAT('instance-', u.seq, '-', k.seq)), u.seq,
         CONCAT('vm-', u.seq, '-', k.seq), CONCAT('compute-', (u.seq * 7 + k.seq) MOD 64),
         1 + (u.seq + k.seq) MOD 5, 1 << (k.seq MOD 5), 512 * (1 + k.seq MOD 32),
         '2026-01-01 00:00:00.000001' + INTERVAL u.seq * 100 + k.seq MINUTE
  FROM seq_${first}_to_${last} u JOIN seq_1_to_100 k;

INSERT INTO nova.instance_extra (instance_id, flavor, numa_topology)
  SELECT (u.seq - 1) * 100 + k.seq,
         CONCAT('{"nova_object.name": "Flavor", "nova_object.version": "1.2", "nova_object.data": [',
                (SELECT GROUP_CONCAT('{"id": ', s.seq, ', "flavorid": "', MD5(CONCAT(u.seq, k.seq, s.seq)),
                                     '", "memory_mb": ', 512 * s.seq, ', "extra_specs": {"hw:cpu_policy": "shared"}}'
                                     ORDER BY s.seq SEPARATOR ', ')
                 FROM seq_1_to_20 s), ']}'),
         IF(k.seq MOD 3 = 0, REPEAT(CONCAT('{"cell": ', k.seq, '} '), 20), NULL)
  FROM seq_${first}_to_${last} u JOIN seq_1_to_100 k;

INSERT INTO cinder.volume (id, uuid, project_id, size_gb, metadata)
  SELECT (u.seq - 1) * 100 + k.seq, MD5(CONCAT('volume-', u.seq, '-', k.seq)), u.seq, 1 + (u.seq * k.seq) MOD 500,
         JSON_OBJECT('readonly', 'False', 'attached_mode', 'rw', 'label', CONCAT('disk ', k.seq))
  FROM seq_${first}_to_${last} u JOIN seq_1_to_100 k;

INSERT INTO cinder.attachment (volume_id, instance_id, device)
  SELECT (u.seq - 1) * 100 + k.seq, (u.seq - 1) * 100 + 101 - k.seq, CONCAT('/dev/vd', CHAR(98 + k.seq MOD 24))
  FROM seq_${first}_to_${last} u JOIN seq_1_to_100 k;

INSERT INTO glance.image (id, name, checksum, properties)
  SELECT seq, CONCAT('image-', seq MOD 40, '-build-', seq), UNHEX(SHA2(CONCAT('image-', seq), 256)),
         CONCAT('architecture x86 os linux release ', seq, ' quality ', ELT(1 + seq MOD 3, 'daily', 'stable', 'test'))
  FROM seq_${first}_to_${last};

-- What no compressor makes smaller: 64 KiB a row.
INSERT INTO glance.chunk (image_id, number, content)
  SELECT u.seq, k.seq,
         (SELECT GROUP_CONCAT(UNHEX(SHA2(CONCAT(u.seq, ':', k.seq, ':', s.seq), 512)) ORDER BY s.seq SEPARATOR '')
          FROM seq_1_to_1024 s)
  FROM seq_${first}_to_${last} u JOIN seq_1_to_5 k;

UPDATE nova.instance SET state = 'active' WHERE project_id BETWEEN ${first} AND ${last} AND state = 'building';
