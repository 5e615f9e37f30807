-- Set the password of every account with the name @user to @password, and add a line to @report for each; without @reset,
-- and where the password was the same, the account gets its old row back.
BEGIN NOT ATOMIC
    SET @report = CONCAT(@report, 'asked ', HEX(@user), '\n');
    FOR account IN (
        SELECT Host, Priv FROM mysql.global_priv
        WHERE User = @user AND JSON_VALUE(Priv, '$.is_role') IS NULL ORDER BY Host
    ) DO BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN
            GET DIAGNOSTICS CONDITION 1 @code = MYSQL_ERRNO;
            SET @report = CONCAT(@report, @code, ' ', HEX(@user), ' ', HEX(account.Host), '\n');
        END;
        EXECUTE IMMEDIATE CONCAT(
            'SET PASSWORD FOR ', QUOTE(@user), '@', QUOTE(account.Host), ' = PASSWORD(', QUOTE(@password), ')'
        );
        SELECT Priv INTO @after FROM mysql.global_priv WHERE User = @user AND Host = account.Host;
        SET @same =
            COALESCE(JSON_VALUE(account.Priv, '$.authentication_string'), '')
                = COALESCE(JSON_VALUE(@after, '$.authentication_string'), '')
            AND COALESCE(JSON_QUERY(account.Priv, '$.auth_or'), '') = COALESCE(JSON_QUERY(@after, '$.auth_or'), '');
        IF @same OR NOT @reset THEN
            UPDATE mysql.global_priv SET Priv = account.Priv WHERE User = @user AND Host = account.Host;
        END IF;
        SET @report =
            CONCAT(@report, IF(@same, 'same ', 'different '), HEX(@user), ' ', HEX(account.Host), '\n');
    END; END FOR;
END;
