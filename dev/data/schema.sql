-- The sample data set's schemas: something of everything that a backup must bring back.
-- Own tables, after the kind of data that a cloud's services keep.
DROP DATABASE IF EXISTS cinder;
DROP DATABASE IF EXISTS nova;
DROP DATABASE IF EXISTS glance;
DROP DATABASE IF EXISTS keystone;
CREATE DATABASE keystone CHARACTER SET utf8mb4;
CREATE DATABASE nova CHARACTER SET utf8mb4;
CREATE DATABASE cinder CHARACTER SET utf8mb4;
CREATE DATABASE glance CHARACTER SET utf8mb4;

CREATE TABLE keystone.project (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  uuid CHAR(32) CHARACTER SET ascii NOT NULL,
  name VARCHAR(64) NOT NULL,
  description TEXT,
  enabled BOOLEAN NOT NULL DEFAULT TRUE,
  parent_id INT UNSIGNED,
  UNIQUE KEY uuid (uuid),
  UNIQUE KEY name (name),
  CONSTRAINT project_parent FOREIGN KEY (parent_id) REFERENCES keystone.project (id)
) ENGINE = InnoDB;

CREATE TABLE keystone.account (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  project_id INT UNSIGNED NOT NULL,
  email VARCHAR(128) NOT NULL,
  password_hash BINARY(64) NOT NULL,
  extra JSON,
  domain VARCHAR(64) GENERATED ALWAYS AS (SUBSTRING_INDEX(email, '@', -1)) VIRTUAL,
  UNIQUE KEY email (email),
  KEY domain (domain),
  CONSTRAINT account_project FOREIGN KEY (project_id) REFERENCES keystone.project (id)
) ENGINE = InnoDB;

CREATE TABLE nova.instance (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  uuid CHAR(32) CHARACTER SET ascii NOT NULL,
  project_id INT UNSIGNED NOT NULL,
  hostname VARCHAR(64) NOT NULL,
  host VARCHAR(64),
  state ENUM('building', 'active', 'stopped', 'error', 'deleted') NOT NULL,
  vcpus SMALLINT UNSIGNED NOT NULL,
  memory_mb INT UNSIGNED NOT NULL,
  created_at DATETIME(6) NOT NULL,
  changes INT UNSIGNED NOT NULL DEFAULT 0,
  memory_gb DECIMAL(10, 2) GENERATED ALWAYS AS (memory_mb / 1024) STORED,
  UNIQUE KEY uuid (uuid),
  KEY host_state (host, state),
  KEY created_at (created_at),
  KEY memory_gb (memory_gb),
  CONSTRAINT instance_project FOREIGN KEY (project_id) REFERENCES keystone.project (id)
) ENGINE = InnoDB;

CREATE TABLE nova.instance_extra (
  instance_id INT UNSIGNED NOT NULL PRIMARY KEY,
  flavor LONGTEXT NOT NULL,
  numa_topology MEDIUMTEXT,
  CONSTRAINT extra_instance FOREIGN KEY (instance_id) REFERENCES nova.instance (id) ON DELETE CASCADE
) ENGINE = InnoDB;

CREATE TABLE nova.instance_action (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  instance_id INT UNSIGNED NOT NULL,
  old_state VARCHAR(16) NOT NULL,
  new_state VARCHAR(16) NOT NULL,
  KEY instance_id (instance_id)
) ENGINE = InnoDB;

CREATE TABLE cinder.volume (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  uuid CHAR(32) CHARACTER SET ascii NOT NULL,
  project_id INT UNSIGNED NOT NULL,
  size_gb INT UNSIGNED NOT NULL,
  metadata JSON,
  size_bytes BIGINT UNSIGNED GENERATED ALWAYS AS (size_gb * 1073741824) VIRTUAL,
  UNIQUE KEY uuid (uuid),
  KEY project_size (project_id, size_gb),
  CONSTRAINT volume_project FOREIGN KEY (project_id) REFERENCES keystone.project (id)
) ENGINE = InnoDB;

CREATE TABLE cinder.attachment (
  volume_id INT UNSIGNED NOT NULL,
  instance_id INT UNSIGNED NOT NULL,
  device VARCHAR(16) NOT NULL,
  PRIMARY KEY (volume_id, instance_id),
  KEY instance_id (instance_id),
  CONSTRAINT attachment_volume FOREIGN KEY (volume_id) REFERENCES cinder.volume (id) ON DELETE CASCADE,
  CONSTRAINT attachment_instance FOREIGN KEY (instance_id) REFERENCES nova.instance (id) ON DELETE CASCADE
) ENGINE = InnoDB;

CREATE TABLE glance.image (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(128) NOT NULL,
  checksum BINARY(32) NOT NULL,
  properties TEXT,
  KEY name (name),
  FULLTEXT KEY properties (properties)
) ENGINE = InnoDB;

CREATE TABLE glance.chunk (
  image_id INT UNSIGNED NOT NULL,
  number SMALLINT UNSIGNED NOT NULL,
  content LONGBLOB NOT NULL,
  PRIMARY KEY (image_id, number),
  CONSTRAINT chunk_image FOREIGN KEY (image_id) REFERENCES glance.image (id) ON DELETE CASCADE
) ENGINE = InnoDB;

CREATE VIEW nova.usage_by_project AS
  SELECT p.name AS project, i.state, COUNT(*) AS instances, SUM(i.vcpus) AS vcpus, SUM(i.memory_gb) AS memory_gb
  FROM nova.instance i JOIN keystone.project p ON p.id = i.project_id
  GROUP BY p.name, i.state;

DELIMITER //
CREATE TRIGGER nova.instance_changes BEFORE UPDATE ON nova.instance FOR EACH ROW
BEGIN
  SET NEW.changes = OLD.changes + 1;
  IF NEW.state <> OLD.state THEN
    INSERT INTO nova.instance_action (instance_id, old_state, new_state) VALUES (OLD.id, OLD.state, NEW.state);
  END IF;
END//

CREATE PROCEDURE nova.stop_host(IN stopped_host VARCHAR(64))
BEGIN
  UPDATE nova.instance SET state = 'stopped' WHERE host = stopped_host AND state = 'active';
END//
DELIMITER ;
