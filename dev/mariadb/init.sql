ALTER USER root@localhost IDENTIFIED BY '';
