-- wrk: posts one question. wrk -t1 -c16 -d10 -s bench/query.lua http://127.0.0.1:8001/v1/query
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"query": "白金卡年费多少？"}'
